"""Operators without a rule on purpose: zero by mathematics, or refused for a reason."""

from __future__ import annotations

from fg_onnx.vjps.table import refuse, zero

zero("it yields no floats", "Shape", "Size", "ArgMax", "ArgMin", "NonZero")
zero(
    "it yields truth values",
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("And", "Or", "Not", "Xor", "IsNaN", "IsInf"),
)
zero("it is piecewise constant", "Floor", "Ceil", "Round", "Sign", "Hardmax")
zero("only the shape of its input counts", "ConstantOfShape", "EyeLike")
zero("it draws at random", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")

refuse(
    "an int8 model in QOperator form, or quantised as it runs, has no floats to differentiate",
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
)
refuse("a selection of boxes is not differentiable in a useful way", "NonMaxSuppression")
refuse("its output is a selection of unknown size", "Unique", "Compress")
refuse("control flow is not differentiated", "Loop", "Scan")
refuse("which branch it takes is known only at run time", "If")
refuse("sequences and strings are not differentiated", "SequenceMap", "SequenceConstruct")
