"""The Graph face: users, groups, licences, applications, $batch."""
