"""Parts of the joiner benchmark: the office people join, the mesh, its rival on DBOS, the meters and the report."""
