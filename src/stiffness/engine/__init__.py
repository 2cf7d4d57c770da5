"""How the Gram matrix is computed. `definition` is the plain definition; all other ways are tested against it."""
