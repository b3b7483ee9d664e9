from os import PathLike
from typing import Any, Callable, Dict, List, Literal, NoReturn, Optional, Sequence, Tuple, TypeVar, Union, overload

_Path = Union[str, "PathLike[str]"]
_Audit = Union[_Path, Callable[[Dict[str, Any]], object], None]
_OnError = Literal["null", "raise", "keep"]
_OnErrorOfMany = Literal["null", "raise"]
_Column = TypeVar("_Column")

class KeyRing:
    @classmethod
    def open(
        cls,
        path: _Path,
        identity: Optional[_Path] = None,
        passphrase: Union[str, Callable[[], str], None] = None,
        *,
        keyring_mode: Optional[Literal["any"]] = None,
        ring_id: Optional[str] = None,
        min_generation: int = 0,
        trunk_zero_regions: Sequence[str] = ("CN",),
    ) -> KeyRing: ...
    def reload(self) -> bool: ...
    def tokenizer(self, context: str = "default", *, audit: _Audit = None) -> Tokenizer: ...
    def keys(self) -> List[Dict[str, str]]: ...
    @property
    def path(self) -> str: ...
    @property
    def ring_id(self) -> str: ...
    @property
    def generation(self) -> int: ...
    def __reduce__(self) -> NoReturn: ...

class Tokenizer:
    @overload
    def tokenize(
        self, column: _Column, on_error: _OnError = "null", errors: Literal[False] = False, threads: Optional[int] = None
    ) -> _Column: ...
    @overload
    def tokenize(
        self, column: _Column, on_error: _OnError = "null", *, errors: Literal[True], threads: Optional[int] = None
    ) -> Tuple[_Column, Any]: ...
    @overload
    def detokenize(
        self, column: _Column, on_error: _OnError = "null", errors: Literal[False] = False, threads: Optional[int] = None
    ) -> _Column: ...
    @overload
    def detokenize(
        self, column: _Column, on_error: _OnError = "null", *, errors: Literal[True], threads: Optional[int] = None
    ) -> Tuple[_Column, Any]: ...
    @overload
    def rewrap(
        self, column: _Column, on_error: _OnError = "null", errors: Literal[False] = False, threads: Optional[int] = None
    ) -> _Column: ...
    @overload
    def rewrap(
        self, column: _Column, on_error: _OnError = "null", *, errors: Literal[True], threads: Optional[int] = None
    ) -> Tuple[_Column, Any]: ...
    @overload
    def normalize(
        self, column: _Column, on_error: _OnError = "null", errors: Literal[False] = False, threads: Optional[int] = None
    ) -> _Column: ...
    @overload
    def normalize(
        self, column: _Column, on_error: _OnError = "null", *, errors: Literal[True], threads: Optional[int] = None
    ) -> Tuple[_Column, Any]: ...
    @overload
    def aliases(
        self, column: Any, on_error: _OnErrorOfMany = "null", errors: Literal[False] = False, threads: Optional[int] = None
    ) -> Any: ...
    @overload
    def aliases(
        self, column: Any, on_error: _OnErrorOfMany = "null", *, errors: Literal[True], threads: Optional[int] = None
    ) -> Tuple[Any, Any]: ...
    @overload
    def inspect(
        self, column: Any, on_error: _OnErrorOfMany = "null", errors: Literal[False] = False, threads: Optional[int] = None
    ) -> Any: ...
    @overload
    def inspect(
        self, column: Any, on_error: _OnErrorOfMany = "null", *, errors: Literal[True], threads: Optional[int] = None
    ) -> Tuple[Any, Any]: ...
    @property
    def context(self) -> str: ...
    def __enter__(self) -> Tokenizer: ...
    def __exit__(self, *_: object) -> None: ...
    def __reduce__(self) -> NoReturn: ...
