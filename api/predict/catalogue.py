"""What is kept in memory of the models: their descriptions, exports and test sets."""

import hashlib
from dataclasses import dataclass

from pydantic import ValidationError

from api.predict.cache import OnceCache
from api.predict.sessions import LabelledPictures, Session
from fmx_ml.files import CARD_FILE, ONNX_FILE, TEST_SET_FILE
from fmx_ml.model_card import ModelCard, parse_classifier
from fmx_store import artifacts
from fmx_store.blobs import BlobStore
from fmx_store.database import Database
from fmx_store.errors import BlobError, NotFoundError
from fmx_store.settings import Settings
from fmx_store.tables import Artifact, Model

KEPT_CARDS = 1024  # a few KB each
KEPT_TEST_SETS = 4  # 4 MB each; models of the same half share theirs


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer."""

    card: ModelCard
    session: Session


class Catalogue:
    """Reads what models left, once; files are told apart by their contents."""

    def __init__(self, db: Database, blobs: BlobStore, settings: Settings) -> None:
        """Nothing is read yet."""
        self._db, self._blobs, self._settings = db, blobs, settings
        self._cards = OnceCache[ModelCard](KEPT_CARDS)
        self._sessions = OnceCache[Session](settings.max_loaded_models)
        self._test_sets = OnceCache[LabelledPictures](KEPT_TEST_SETS)

    def files(self, model: Model) -> dict[str, Artifact]:
        """The artifacts of the model's run, by their names in it."""
        return artifacts.artifacts_of_run(self._db, model.run_id)

    def card(self, model: Model) -> ModelCard:
        """The model's model.json. Raises NotFoundError, BlobError."""
        file = self._require(model, CARD_FILE)
        return self._cards.get(file.sha256, lambda: self._read_card(file))

    def load(self, model: Model) -> Loaded:
        """The model, ready to answer. Raises NotFoundError, BlobError."""
        file = self._require(model, ONNX_FILE)
        threads = self._settings.predict_threads
        session = self._sessions.get(file.sha256, lambda: Session(self._read(file), threads))
        return Loaded(self.card(model), session)

    def test_set(self, model: Model) -> LabelledPictures:
        """The pictures that the model was tested on. Raises NotFoundError, BlobError."""
        file = self._require(model, TEST_SET_FILE)
        return self._test_sets.get(file.sha256, lambda: LabelledPictures(self._read(file)))

    def _read_card(self, file: Artifact) -> ModelCard:
        try:
            return parse_classifier(self._read(file))
        except ValidationError as error:
            raise BlobError(f"{file.path} describes no model") from error

    def _require(self, model: Model, name: str) -> Artifact:
        file = self.files(model).get(name)
        if file is None:
            raise NotFoundError("artifact", f"{model.run_name}/{name}")
        return file

    def _read(self, file: Artifact) -> bytes:
        with self._blobs.open(file.sha256) as opened:
            content = opened.read()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise BlobError(f"the contents of blob {file.sha256} have changed")
        return content
