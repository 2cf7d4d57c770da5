"""The runs of the paper on sensitivity (Novak et al. 2018): what networks do where their input moves."""
