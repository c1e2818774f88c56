"""A video arrived: plan it, compute the gallery, fan the segments out."""
