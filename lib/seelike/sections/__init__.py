"""The statistics of each section of the paper, a file for each page: what its claims are made of."""
