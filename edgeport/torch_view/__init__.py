"""The torch view: a canonical graph as an exact, trainable torch.fx module. Its modules need torch."""
