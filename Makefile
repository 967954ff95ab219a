# Everything a developer or a new user types. `make help` lists it.
.DEFAULT_GOAL := help
