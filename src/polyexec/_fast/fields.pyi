from typing import final

@final
class HeaderWriter:
    def __init__(self, authority: str, refusal: type[Exception]) -> None: ...
