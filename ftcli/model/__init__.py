"""Networks: architectures, weights, groups, freezing, and the frozen prefix."""
