"""Where code lives and is discussed: one comment on a pull or merge request, kept up to date, and a check of its commit."""
