"""Speed and memory of the Gram matrix against its plain definition and against other libraries: `make bench`."""
