"""What every VJP rule is tested with: a table of one-node models, one file a family."""

from __future__ import annotations

from .activations import ACTIVATIONS
from .arithmetic import ARITHMETIC
from .convolution import CONVOLUTION, DECONVOLUTION
from .einsum import EINSUM
from .indexing import INDEXING
from .matrix import MATRIX
from .normalization import NORMALIZATION
from .padding import PADDING
from .pooling import POOLING
from .rearranging import REARRANGING
from .reduction import REDUCTION
from .resizing import RESIZING
from .sampling import ALIGNED_REGIONS, DEFORMED, SAMPLING
from .scans import SCANS
from .shaping import SHAPING
from .slicing import SLICING
from .standardization import STANDARDIZATION

CASES = [
    *ACTIVATIONS,
    *ARITHMETIC,
    *CONVOLUTION,
    *DECONVOLUTION,
    *EINSUM,
    *INDEXING,
    *MATRIX,
    *NORMALIZATION,
    *PADDING,
    *POOLING,
    *REARRANGING,
    *REDUCTION,
    *RESIZING,
    *ALIGNED_REGIONS,
    *DEFORMED,
    *SAMPLING,
    *SCANS,
    *SHAPING,
    *SLICING,
    *STANDARDIZATION,
]
