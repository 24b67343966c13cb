"""Where networks and their weights come from: torchvision, timm and the built-in network."""
