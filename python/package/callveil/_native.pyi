from os import PathLike
from typing import Any, Callable, Dict, List, Optional, Tuple, Union, final

__version__: str

_Path = Union[str, "PathLike[str]"]

@final
class Ring:
    @staticmethod
    def open(
        path: _Path,
        identity: Tuple[Optional[_Path], Optional[str]],
        keyring_mode: Optional[str],
        pins: Tuple[Optional[str], int],
        trunk_zero_regions: List[str],
    ) -> Ring: ...
    def reload(self) -> bool: ...
    def keys(self) -> List[Dict[str, str]]: ...
    @property
    def path(self) -> "PathLike[str]": ...
    @property
    def ring_id(self) -> str: ...
    @property
    def generation(self) -> int: ...

@final
class Tokenizer:
    def __new__(
        cls, ring: Ring, context: str, audit: Union[_Path, Callable[[Dict[str, Any]], object], None], host: str
    ) -> Tokenizer: ...
    @property
    def context(self) -> str: ...
    def enter(self) -> None: ...
    def leave(self) -> None: ...
    def map_arrow(
        self, column: Any, operation: str, on_error: str, errors: bool, threads: Optional[int]
    ) -> Tuple[Any, Optional[Any]]: ...
    def map_objects(
        self, column: List[Any], operation: str, on_error: str, errors: bool, threads: Optional[int]
    ) -> Tuple[List[Any], Optional[List[Any]]]: ...
