"""Time and memory of the Gram matrix, compared with its plain definition and with other libraries: `make bench`."""
