"""Look at everything that a run needs before it needs it: each check says what it saw, and what to do."""
