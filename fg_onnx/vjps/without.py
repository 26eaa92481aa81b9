"""Operators without a rule on purpose: zero by mathematics, or refused for a reason."""

from __future__ import annotations

from fg_onnx.vjps.table import refuse, zero

zero(
    "it yields no floats",
    *("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "SequenceLength", "ImageDecoder"),
    *("BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"),
)
zero(
    "it yields truth values",
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("And", "Or", "Not", "Xor", "IsNaN", "IsInf", "OptionalHasElement", "RegexFullMatch"),
)
zero("it is piecewise constant", "Floor", "Ceil", "Round", "Sign", "Hardmax")
zero("only the shape of its input counts", "ConstantOfShape", "EyeLike")
zero("it draws at random", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
zero("it has no inputs", "Constant", "RandomNormal", "RandomUniform", "SequenceEmpty")
zero(
    "it makes a table from sizes",
    *("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
)

refuse(
    "an int8 model in QOperator form, or quantised as it runs, has no floats to differentiate",
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
)
refuse("a selection of boxes is not differentiable in a useful way", "NonMaxSuppression")
refuse("its output is a selection of unknown size", "Unique")
refuse("control flow is not differentiated", "Loop", "Scan")
refuse("its function body is a loop", "LinearAttention")
refuse("which branch it takes is known only at run time", "If")
refuse(
    "sequences, optional values and strings are not differentiated",
    *("SequenceMap", "SequenceConstruct", "SequenceAt", "SequenceErase", "SequenceInsert"),
    *("ConcatFromSequence", "SplitToSequence", "Optional", "OptionalGetElement"),
    *("StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
)
refuse(
    "recurrent layers are not differentiated; a convolutional net has none", "RNN", "GRU", "LSTM"
)
refuse("spectra are not differentiated; a net of images has none", "DFT", "STFT")
refuse("determinants are not differentiated; a convolutional net has none", "Det")
refuse(
    "a loss has no place in a net that is to be explained; export the model for inference",
    *("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"),
)
refuse("what it makes is as long as its operands say", "Range")
refuse("its on and off values depend on the explained input", "OneHot")
refuse("it reads the bits of a number as another's", "BitCast")
refuse("a cache of keys and values is not differentiated", "TensorScatter")
refuse("ONNX has replaced it by ScatterElements", "Scatter")
