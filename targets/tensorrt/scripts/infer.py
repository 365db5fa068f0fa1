"""Runs a TensorRT engine from Python: TensorRT 8, 10 and 11 with the same calls.

    python3 infer.py ENGINE INPUTS.npz [OUTPUTS.npz]

or `from infer import Engine; Engine("model.engine").run({"image": array})`. Needs TensorRT's Python package, numpy and
CUDA's runtime library, which JetPack installs, and Python 3.6 or newer.
"""

import ctypes
import glob
import importlib
import os
import sys
import zipfile
from typing import Any, Dict, Mapping, Tuple

try:
    import numpy as np
except ImportError:
    if __name__ != "__main__":
        raise
    sys.exit("cannot run: numpy is missing: sudo apt-get install python3-numpy")

DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "UINT8": "uint8"}
DTYPES.update({"BOOL": "bool"})
LIBRARIES = ["libcudart.so"] + ["libcudart.so." + version for version in ("13", "12", "11.0", "10.2", "10.0")]
UPLOAD, DOWNLOAD = 1, 2  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost
COMPUTE_MAJOR, COMPUTE_MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, ...Minor


class EngineError(RuntimeError):
    """The engine cannot be loaded or run; the text is one line that says why."""


class Cuda:
    """CUDA's runtime library, as far as an engine needs it. Addresses are those of the device's memory."""

    def __init__(self) -> None:
        self.library = load_cudart()
        self.library.cudaGetErrorString.restype = ctypes.c_char_p

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a function of the library; an error that it returns is raised."""
        code = getattr(self.library, function)(*arguments)
        if code != 0:
            raise EngineError(f"{function}: {self.library.cudaGetErrorString(code).decode('ascii', 'replace')}")

    def compute_capability(self) -> str:
        """That of the GPU in use, e.g. `8.7`."""
        device, parts = ctypes.c_int(), []
        self.call("cudaGetDevice", ctypes.byref(device))
        for attribute in (COMPUTE_MAJOR, COMPUTE_MINOR):
            value = ctypes.c_int()
            self.call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, device)
            parts.append(str(value.value))
        return ".".join(parts)

    def stream(self) -> int:
        """A new stream."""
        handle = ctypes.c_void_p()
        self.call("cudaStreamCreate", ctypes.byref(handle))
        return handle.value or 0

    def wait(self, stream: int) -> None:
        """Returns when everything in the stream has run."""
        self.call("cudaStreamSynchronize", ctypes.c_void_p(stream))

    def allocate(self, size: int) -> int:
        """New memory of that many bytes; an empty array has an address, too."""
        address = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value or 0

    def free(self, address: int) -> None:
        """Gives memory back."""
        self.call("cudaFree", ctypes.c_void_p(address))

    def upload(self, address: int, array: "np.ndarray[Any, Any]") -> None:
        """Copies an array to the device."""
        target, source = ctypes.c_void_p(address), array.ctypes.data_as(ctypes.c_void_p)
        self.call("cudaMemcpy", target, source, ctypes.c_size_t(array.nbytes), UPLOAD)

    def download(self, array: "np.ndarray[Any, Any]", address: int) -> None:
        """Fills an array from the device."""
        target, source = array.ctypes.data_as(ctypes.c_void_p), ctypes.c_void_p(address)
        self.call("cudaMemcpy", target, source, ctypes.c_size_t(array.nbytes), DOWNLOAD)


def load_tensorrt() -> Any:
    """TensorRT's Python package."""
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        hint = "its Python package is missing, sudo apt-get install python3-libnvinfer, or does not fit this Python"
        raise EngineError(f"TensorRT cannot be loaded: {hint} ({error})") from None


def load_cudart() -> Any:
    """CUDA's runtime library: the system's, or the one that pip installs beside TensorRT."""
    beside = [os.path.join(folder, "nvidia", "*", "lib", "libcudart.so.*") for folder in sys.path]
    for name in LIBRARIES + [path for pattern in beside for path in sorted(glob.glob(pattern))]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            pass
    raise EngineError("CUDA's runtime library (libcudart.so) is not installed here, or not on LD_LIBRARY_PATH")


class Engine:
    """A built engine, ready to run on this machine's GPU.

    Args:
        path: the engine's file.
        trt: the module to run it with, by default `tensorrt`.

    Attributes:
        inputs: input -> numpy dtype that the engine takes.
        outputs: output -> numpy dtype that it gives.
    """

    def __init__(self, path: str, trt: Any = None) -> None:
        self.trt = trt or load_tensorrt()
        self.cuda = Cuda()
        logger = self.trt.Logger(self.trt.Logger.ERROR)
        self.trt.init_libnvinfer_plugins(logger, "")
        self.runtime = self.trt.Runtime(logger)
        with open(path, "rb") as stream:
            self.engine = self.runtime.deserialize_cuda_engine(stream.read())
        if self.engine is None:
            raise EngineError(
                f"TensorRT {self.trt.__version__} does not load {path}: it was built by another version or for another "
                "GPU; build it here"
            )
        self.context = self.engine.create_execution_context()
        if self.context is None:
            raise EngineError(f"there is not enough memory to run {path}")
        self.stream = self.cuda.stream()
        # Tensors have names since TensorRT 8.5, and nothing but names since 10.
        self.named = hasattr(self.engine, "num_io_tensors")
        count = self.engine.num_io_tensors if self.named else self.engine.num_bindings
        self.order = [self._name(index) for index in range(count)]
        self.inputs = {name: self._dtype(name) for name in self.order if self._is_input(name)}
        self.outputs = {name: self._dtype(name) for name in self.order if name not in self.inputs}

    def run(self, arrays: "Mapping[str, np.ndarray[Any, Any]]") -> "Dict[str, np.ndarray[Any, Any]]":
        """Runs the engine once: input -> array, output -> array.

        Integers are taken in any width that they fit into, floats in any precision.
        """
        if set(arrays) != set(self.inputs):
            raise EngineError(f"the engine takes {', '.join(self.inputs)}; given is {', '.join(arrays) or 'nothing'}")
        taken = {name: fitted(name, arrays[name], dtype) for name, dtype in self.inputs.items()}
        for name, array in taken.items():
            self._set_shape(name, array.shape)
        given = {name: np.empty(self._output_shape(name), dtype) for name, dtype in self.outputs.items()}
        held: Dict[str, int] = {}
        try:
            for name, array in list(taken.items()) + list(given.items()):
                held[name] = self.cuda.allocate(array.nbytes)
            for name, array in taken.items():
                self.cuda.upload(held[name], array)
            self._execute(held)
            for name, array in given.items():
                self.cuda.download(array, held[name])
        finally:
            for address in held.values():
                self.cuda.free(address)
        return given

    def _execute(self, held: Mapping[str, int]) -> None:
        if self.named:
            for name, address in held.items():
                self.context.set_tensor_address(name, address)
            done = self.context.execute_async_v3(self.stream)
        else:
            done = self.context.execute_async_v2([held[name] for name in self.order], self.stream)
        self.cuda.wait(self.stream)
        if not done:
            raise EngineError("TensorRT did not run the engine; its log says why")

    def _name(self, index: int) -> str:
        return str(self.engine.get_tensor_name(index) if self.named else self.engine.get_binding_name(index))

    def _is_input(self, name: str) -> bool:
        if not self.named:
            return bool(self.engine.binding_is_input(name))
        return bool(self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT)

    def _dtype(self, name: str) -> "np.dtype[Any]":
        found = self.engine.get_tensor_dtype(name) if self.named else self.engine.get_binding_dtype(name)
        if found.name not in DTYPES:
            raise EngineError(f"{name} is {found.name} in the engine, which numpy has not")
        return np.dtype(DTYPES[found.name])

    def _set_shape(self, name: str, shape: Tuple[int, ...]) -> None:
        own = tuple(self.engine.get_tensor_shape(name) if self.named else self.engine.get_binding_shape(name))
        if -1 not in own:
            good = own == shape
        elif self.named:
            good = self.context.set_input_shape(name, shape)
        else:
            good = self.context.set_binding_shape(self.order.index(name), shape)
        if not good:
            raise EngineError(f"{name} has shape {list(shape)}; the engine takes {list(own)}")

    def _output_shape(self, name: str) -> Tuple[int, ...]:
        context, index = self.context, self.order.index(name)
        shape = tuple(context.get_tensor_shape(name) if self.named else context.get_binding_shape(index))
        if any(axis < 0 for axis in shape):
            raise EngineError(f"the size of {name} depends on the inputs' values; run the engine with trtexec")
        return shape


def fitted(name: str, array: "np.ndarray[Any, Any]", dtype: "np.dtype[Any]") -> "np.ndarray[Any, Any]":
    """The array in the engine's type, in C order; refused where it would be another."""
    array = np.asarray(array, order="C")
    if (array.dtype.kind == "f") != (dtype.kind == "f"):
        raise EngineError(f"{name} is {array.dtype}; the engine takes {dtype}")
    made = array.astype(dtype, copy=False)
    if dtype.kind != "f" and not np.array_equal(made, array):
        raise EngineError(f"{name} holds {array.dtype} numbers that {dtype}, which the engine takes, cannot hold")
    return made


def read(path: str) -> Dict[str, Any]:
    """The arrays of a .npz file."""
    with open(path, "rb") as stream:
        if stream.read(2) != b"PK":
            raise EngineError(f"{path} is no .npz file: numpy.savez writes one, with an array for each input")
        stream.seek(0)
        try:
            with np.load(stream) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (ValueError, zipfile.BadZipFile) as error:
            raise EngineError(f"{path} cannot be read: {error}") from None


def say(line: str) -> None:
    """Prints a line in UTF-8: where no language is set, Python 3.6 would take ASCII and stop at a name that is not."""
    sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def main() -> int:
    """Runs the engine on the arrays of a .npz file; the exit code."""
    if len(sys.argv) not in (3, 4):
        print(__doc__)
        return 2
    try:
        inputs = read(sys.argv[2])
        outputs: Dict[str, Any] = Engine(sys.argv[1]).run(inputs)
    except (EngineError, OSError, ValueError) as error:
        say(f"cannot run: {error}")
        return 2
    for name, array in outputs.items():
        say(f"{name}: {array.dtype} {list(array.shape)}")
    if len(sys.argv) == 4:
        np.savez(sys.argv[3], **outputs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
