"""What all settings of the catalog have in common.

Belongs here: their base and the types that several use. Does not: any setting.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]
# What numpy's older generators take, and with them scikit-learn, Cornac and implicit; LightGBM, which is also given
# the numbers after it, and torch take more.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# For paths and tuples, which TOML writes as strings and lists; what a tuple holds stays strict.
Lax = Field(strict=False)
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys, NaN and other types refused, one docstring a field.

    A whole number is taken for any number.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    def refuse(self, names: Iterable[str], why: str) -> None:
        """Refuse those of the settings that are set to something and have no effect.

        Raises:
            ValueError: one is not as it is by default.
        """
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} {why}")
