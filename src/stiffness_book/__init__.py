"""The machinery of the book "Stiffness, reproduced". It imports `stiffness`, never the other way round."""
