"""Sound: reading recordings, mel spectra, the speech engine of the default corpus."""
