"""What every program of this folder has in common: its arguments, the folder it works in, the rows it ends with."""
