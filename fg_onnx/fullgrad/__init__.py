"""Full-gradients: sites, the adjoint, bias-gradients, and the map that is made of them."""
