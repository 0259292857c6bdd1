"""The references: one module per page, each of which returns Markdown and writes nothing."""
