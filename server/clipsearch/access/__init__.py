"""Who may call what, and how often: API keys, their scopes and rates. Knows no transport."""
