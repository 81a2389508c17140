"""Names and places of everything that a port adds to FastVideo, derived once from the spec."""

from __future__ import annotations

from dataclasses import dataclass

from portspec.port import Port


@dataclass(frozen=True, slots=True)
class Names:
    """Paths are relative to the tree's root, modules are dotted."""

    family: str
    title: str

    @property
    def constant(self) -> str:
        """Prefix of constants and environment variables."""
        return self.family.upper()

    @property
    def config_path(self) -> str:
        """File of the pipeline config."""
        return f"fastvideo/configs/pipelines/{self.family}.py"

    @property
    def config_module(self) -> str:
        """Module of the pipeline config."""
        return f"fastvideo.configs.pipelines.{self.family}"

    @property
    def package(self) -> str:
        """Folder of the pipeline."""
        return f"fastvideo/pipelines/basic/{self.family}"

    @property
    def pipeline_path(self) -> str:
        """File of the pipeline class."""
        return f"{self.package}/{self.family}_pipeline.py"

    @property
    def pipeline_module(self) -> str:
        """Module of the pipeline class."""
        return f"fastvideo.pipelines.basic.{self.family}.{self.family}_pipeline"

    @property
    def presets_path(self) -> str:
        """File of the presets."""
        return f"{self.package}/presets.py"

    @property
    def presets_module(self) -> str:
        """Module of the presets."""
        return f"fastvideo.pipelines.basic.{self.family}.presets"

    @property
    def presets_alias(self) -> str:
        """Name under which the registry holds the presets."""
        return f"{self.constant}_PRESETS"

    @property
    def tests(self) -> str:
        """Folder of the component tests and of the port's state files."""
        return f"tests/local_tests/{self.family}"

    @property
    def smoke_test(self) -> str:
        """File of the pipeline smoke test."""
        return f"tests/local_tests/pipelines/test_{self.family}_pipeline_smoke.py"

    @property
    def pipeline_parity_test(self) -> str:
        """File of the pipeline parity test."""
        return f"tests/local_tests/pipelines/test_{self.family}_pipeline_parity.py"

    @property
    def ssim_test(self) -> str:
        """File of the SSIM test."""
        return f"fastvideo/tests/ssim/test_{self.family}_similarity.py"

    @property
    def model_dir_env(self) -> str:
        """Environment variable with the checkpoint's folder, for local tests."""
        return f"{self.constant}_MODEL_DIR"

    def component_test(self, component: str) -> str:
        """File of a component's parity test."""
        return f"{self.tests}/test_{self.family}_{component}_parity.py"

    def arch_config_path(self, bucket: str) -> str:
        """File of an arch config that the port adds."""
        return f"fastvideo/configs/models/{bucket}/{self.family}.py"

    def arch_config_module(self, bucket: str) -> str:
        """Module of an arch config that the port adds."""
        return f"fastvideo.configs.models.{bucket}.{self.family}"


def names_of(port: Port) -> Names:
    """Return the names of a port."""
    words = " ".join(word.capitalize() for word in port.family.split("_"))
    return Names(port.family, port.spec.title or words)
