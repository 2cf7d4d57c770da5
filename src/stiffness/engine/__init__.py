"""How the Gram matrix is made; `definition` is what everything else is tested against."""
