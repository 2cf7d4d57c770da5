"""How the output of networks moves with their input: the measurements of Novak et al. 2018."""
