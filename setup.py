"""Maps the top-level folders `targets` and `calibration` into the `edgeport` package, so adding a folder is enough."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(".", include=["edgeport", "edgeport.*"]),
        *(
            "edgeport." + name
            for name in find_packages(".", include=["targets", "targets.*", "calibration", "calibration.*"])
        ),
    ],
    package_dir={"edgeport": "edgeport", "edgeport.targets": "targets", "edgeport.calibration": "calibration"},
    package_data={
        "edgeport": ["py.typed"],
        "edgeport.report": ["*.html.j2", "*.css", "*.js"],
        "edgeport.targets": [
            "profiles/*.toml",
            "coreml/selftest/*",
            "tensorrt/*.toml",
            "tensorrt/scripts/*",
            "onnxruntime/*.mjs",
        ],
    },
)
