"""Text to ids: tokenizer, vocabulary layout, chat template, interleaving."""
