"""The tables of this service behind the domain's ports. SQL lives here and nowhere else."""
