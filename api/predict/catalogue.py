"""What is kept in memory of the models: their descriptions, exports and test sets."""

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass

from pydantic import ValidationError

from api.predict.batching import Batcher, Probabilities
from api.predict.cache import OnceCache
from api.predict.sessions import Images, LabelledPictures, Session
from api.predict.statistics import Register, Statistics
from fmx_ml.files import CARD_FILE, ONNX_FILE, TEST_SET_FILE
from fmx_ml.model_card import ModelCard, parse_classifier
from fmx_store import artifacts, models
from fmx_store.blobs import BlobStore
from fmx_store.database import Database
from fmx_store.errors import BlobError, NotFoundError
from fmx_store.settings import Settings
from fmx_store.tables import Artifact, Model
from fmx_store.viewers import Record

KEPT_CARDS = 1024  # a few KB each
KEPT_FILE_LISTS = 1024  # as small
KEPT_TEST_SETS = 4  # 4 MB each; models of the same half share theirs


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer."""

    model: Model
    card: ModelCard
    batcher: Batcher
    statistics: Statistics

    async def predict(self, images_NHW: Images) -> Probabilities:
        """As Batcher.predict; it is counted as this model's."""
        return await self.batcher.predict(images_NHW, self.statistics)

    @property
    def session(self) -> Session:
        """What it answers with."""
        return self.batcher.session


class Catalogue:
    """Reads what models left, once; files are told apart by their contents.

    Whoever asks for a model's files or card has been shown the model.
    """

    def __init__(
        self, db: Database, blobs: BlobStore, settings: Settings, executor: Executor
    ) -> None:
        """Nothing is read yet; models run in the executor's threads."""
        self._db, self._blobs, self._settings = db, blobs, settings
        self._executor = executor
        self.register = Register()
        self._files = OnceCache[dict[str, Artifact]](KEPT_FILE_LISTS)
        self._cards = OnceCache[ModelCard](KEPT_CARDS)
        self._sessions = OnceCache[Batcher](settings.max_loaded_models)
        self._test_sets = OnceCache[LabelledPictures](KEPT_TEST_SETS)

    def files(self, model: Model) -> dict[str, Artifact]:
        """The artifacts of the model's run, by their names in it; they never change."""
        run_id = model.run_id
        return self._files.get(run_id, lambda: artifacts.artifacts_of_run(self._db, run_id))

    def card(self, model: Model) -> ModelCard:
        """The model's model.json. Raises NotFoundError, BlobError."""
        file = self._require(model, CARD_FILE)
        return self._cards.get(file.sha256, lambda: self._read_card(file))

    def load(self, record: Record, name: str) -> Loaded:
        """The model with this id, or that an alias names, ready to answer.

        Raises NotFoundError, AmbiguousAliasError, BlobError.
        """
        model = models.require_model(record, name)
        while True:
            try:
                return self._load(model)
            except (NotFoundError, BlobError):
                # Deleted since it was found? An alias then names another one by now.
                present = models.require_model(record, name)
                if present.id == model.id:
                    raise
                model = present

    def _load(self, model: Model) -> Loaded:
        file = self._require(model, ONNX_FILE)
        batcher = self._sessions.get(file.sha256, lambda: self._open(file))
        return Loaded(model, self.card(model), batcher, self.register.of(model))

    def unload(self, model: Model) -> None:
        """Takes the model out of memory, as far as no request uses it; it can be loaded again."""
        self._sessions.drop(self._require(model, ONNX_FILE).sha256)

    def _open(self, file: Artifact) -> Batcher:
        session = Session(self._read(file), self._settings.predict_threads)
        return Batcher(session, self._executor, self._settings.max_waiting_pictures)

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
