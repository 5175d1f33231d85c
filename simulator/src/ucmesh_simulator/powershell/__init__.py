"""The cmdlet face: what both PowerShell hosts call. Owns dispatch, the module rules live in teams/ and exchange/."""
