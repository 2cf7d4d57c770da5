"""How the output of networks moves with their input: the runs and measurements of Novak et al. 2018."""
