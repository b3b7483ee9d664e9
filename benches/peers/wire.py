"""What both servers of FastAPI have in common: CCC's envelope, and the one user who may call."""

import os
import secrets
from typing import Annotated, Literal

from fastapi import Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel

basic = HTTPBasic()


class Call(BaseModel):
    Numbers: list[str]
    Mode: Literal["PhoneToUID", "UIDToPhone"]


class Result(BaseModel):
    Key: str
    Value: str


class Answer(BaseModel):
    Code: int
    Results: list[Result]


async def authenticate(credentials: Annotated[HTTPBasicCredentials, Depends(basic)]):
    user = secrets.compare_digest(credentials.username.encode(), os.environ["CLIENT"].encode())
    if not (user and secrets.compare_digest(credentials.password.encode(), os.environ["PASSWORD"].encode())):
        raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
