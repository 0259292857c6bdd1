"""Generated from proto/clipsearch/v1 by `make proto`: do not edit."""
