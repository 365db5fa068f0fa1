import onnx
import onnx_ir as ir

from edgeport.passes import canonicalize


def test_group_normalization_in_the_middle_has_a_shape():
    """ONNX's own inference gives it none, and none to what follows."""
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]> g (float[1,4,8,8] x, float[4] s, float[4] b)
        => (float[1,4,8,8] y) {
        a = Relu(x)
        c = GroupNormalization<num_groups=2>(a, s, b)
        d = Relu(c)
        y = Add(d, x)
    }"""
    )
    model = canonicalize(ir.from_proto(proto))
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype == ir.DataType.FLOAT
            assert value.shape is not None
            assert tuple(value.shape) == (1, 4, 8, 8)
