"""Audio encoder, adaptor and decoder: one definition for one device and for a ring."""
