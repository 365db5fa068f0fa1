"""The protobuf messages of a Core ML model that an ML program needs, as Apple's published format numbers them.

Sources of the names and numbers: Model.proto, FeatureTypes.proto and MIL.proto of the Core ML model specification. They
are built in a descriptor pool of their own, so that they live beside any other copy of the same messages.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

_PACKAGE = "edgeport.coreml"

_MESSAGES = """
Model: int32 specificationVersion=1, ModelDescription description=2, Program mlProgram=502
ModelDescription: *FeatureDescription input=1, *FeatureDescription output=10, *FeatureDescription state=13, \
 string predictedFeatureName=11, string predictedProbabilitiesName=12, *FunctionDescription functions=20, \
 string defaultFunctionName=21, Metadata metadata=100
FunctionDescription: string name=1, *FeatureDescription input=2, *FeatureDescription output=3, \
 string predictedFeatureName=4, string predictedProbabilitiesName=5, *FeatureDescription state=6
Metadata: string shortDescription=1, string versionString=2, string author=3, string license=4, %string userDefined=100
FeatureDescription: string name=1, string shortDescription=2, FeatureType type=3
FeatureType: Empty int64Type=1 kind, Empty doubleType=2 kind, Empty stringType=3 kind, ImageType imageType=4 kind,\
 ArrayType multiArrayType=5 kind, Empty dictionaryType=6 kind, Empty sequenceType=7 kind, \
 StateFeature stateType=8 kind, bool isOptional=1000
Empty:
StateFeature: ArrayType arrayType=1
ImageType: int64 width=1, int64 height=2, int32 colorSpace=3, ImageSizes enumeratedSizes=21, \
 ImageRange imageSizeRange=31
ImageSize: uint64 width=1, uint64 height=2
ImageSizes: *ImageSize sizes=1
ImageRange: SizeRange widthRange=1, SizeRange heightRange=2
SizeRange: uint64 lowerBound=1, int64 upperBound=2
ArrayType: *int64 shape=1, int32 dataType=2, Shapes enumeratedShapes=21, ShapeRange shapeRange=31, \
 int32 intDefaultValue=41 default, float floatDefaultValue=51 default, double doubleDefaultValue=61 default
Shape: *int64 shape=1
Shapes: *Shape shapes=1
ShapeRange: *SizeRange sizeRanges=1
Program: int64 version=1, %Function functions=2, string docString=3, %Value attributes=4
Function: *NamedValueType inputs=1, string opset=2, %Block block_specializations=3, %Value attributes=4
Block: *NamedValueType inputs=1, *string outputs=2, *Operation operations=3, %Value attributes=4
Operation: string type=1, %Argument inputs=2, *NamedValueType outputs=3, *Block blocks=4, %Value attributes=5
Argument: *Binding arguments=1
Binding: string name=1 binding, Value value=2 binding
NamedValueType: string name=1, ValueType type=2
ValueType: TensorType tensorType=1 type, ListType listType=2 type, TupleType tupleType=3 type, \
 DictionaryType dictionaryType=4 type, StateType stateType=5 type
TensorType: int32 dataType=1, int64 rank=2, *Dimension dimensions=3, %Value attributes=4
TupleType: *ValueType types=1
ListType: ValueType type=1, Dimension length=2
DictionaryType: ValueType keyType=1, ValueType valueType=2
StateType: ValueType wrappedType=1
Dimension: ConstantDimension constant=1 dimension, UnknownDimension unknown=2 dimension
ConstantDimension: uint64 size=1
UnknownDimension: bool variadic=1
Value: string docString=1, ValueType type=2, ImmediateValue immediateValue=3 value, BlobFileValue blobFileValue=5 value
ImmediateValue: TensorValue tensor=1 value, TupleValue tuple=2 value, ListValue list=3 value, \
 DictionaryValue dictionary=4 value
BlobFileValue: string fileName=1, uint64 offset=2
TensorValue: Floats floats=1 value, Ints ints=2 value, Bools bools=3 value, Strings strings=4 value, \
 LongInts longInts=5 value, Doubles doubles=6 value, Bytes bytes=7 value
Floats: *float values=1
Ints: *int32 values=1
Bools: *bool values=1
Strings: *string values=1
LongInts: *int64 values=1
Doubles: *double values=1
Bytes: bytes values=1
TupleValue: *Value values=1
ListValue: *Value values=1
DictionaryValue: *KeyValuePair values=1
KeyValuePair: Value key=1, Value value=2
"""
"""One message a line: `TYPE name=number [oneof]`, `*` for repeated, `%` for a map with string keys."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint64": _Field.TYPE_UINT64,
}


def _typed(field: Any, type_name: str) -> None:
    """Sets the type of a field descriptor: a scalar's, or a message of this package."""
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{type_name}"


def _add_map_entry(message: Any, field_name: str, value_type: str) -> str:
    """Adds the nested message that protobuf uses for one entry of a map, and returns its full name."""
    entry = message.nested_type.add(name=f"{field_name[0].upper()}{field_name[1:].replace('_', '')}Entry")
    entry.options.map_entry = True
    _typed(entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL), "string")
    _typed(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), value_type)
    return f"{message.name}.{entry.name}"


def _add_field(message: Any, text: str) -> None:
    type_name, assignment, *oneof = text.split()
    name, number = assignment.split("=")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if type_name[0] in "*%":
        field.label = _Field.LABEL_REPEATED
    if type_name[0] == "%":
        _typed(field, _add_map_entry(message, name, type_name[1:]))
    else:
        _typed(field, type_name.lstrip("*"))
    if oneof:
        declared = [declaration.name for declaration in message.oneof_decl]
        if oneof[0] not in declared:
            message.oneof_decl.add(name=oneof[0])
            declared.append(oneof[0])
        field.oneof_index = declared.index(oneof[0])


@cache
def model_class() -> Any:
    """The generated class of the message `Model`; the others hang below its fields."""
    file = descriptor_pb2.FileDescriptorProto(name="edgeport_coreml.proto", package=_PACKAGE, syntax="proto3")
    for line in _MESSAGES.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for text in filter(None, (part.strip() for part in fields.split(","))):
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
