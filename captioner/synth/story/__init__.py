"""What happens in a synthetic clip, and how annotators would tell it."""
