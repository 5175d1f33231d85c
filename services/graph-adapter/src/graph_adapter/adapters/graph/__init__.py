"""Microsoft's side: sign-in by MSAL, and Graph by `$batch`."""
