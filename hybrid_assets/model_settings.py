"""Settings of each collaborative model, as [models.<name>] of the catalog has them.

Belongs here: what may be set of an algorithm, its range and its default. Does not: what the setting does
(recommender/models/), which values a search tries (recommender/models/search_spaces.py).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hybrid_assets.settings import Name, Seed, Settings, Share


class _Model(Settings):
    """What every model has, whatever its algorithm."""

    refresh: bool = True
    """Whether `run` and the scheduled refresh keep it up to date; false leaves it to `hybrid-assets backfill`."""

    @property
    def function_settings(self) -> dict[str, Any]:
        """What the algorithm's function is called with: all but its name, the encoder and when it is refreshed."""
        return self.model_dump(exclude={"algorithm", "encoder", "refresh"})


class MostPopularSettings(_Model):
    """Ranks movies by how many train users liked them; the floor for every other system."""

    algorithm: Literal["most_popular"]
    """The algorithm's name."""


class PmfSettings(_Model):
    """Probabilistic Matrix Factorization (Salakhutdinov & Mnih 2008), as Cornac computes it."""

    algorithm: Literal["pmf"]
    """The algorithm's name."""
    factors: Annotated[int, Field(ge=1)] = 100
    """Length of the user and item vectors."""
    epochs: Annotated[int, Field(ge=1)] = 200
    """Passes over the ratings."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    """Step size of the stochastic gradient descent."""
    regularisation: Annotated[float, Field(ge=0)] = 0.001
    """Weight of the squared norms of the factors."""
    seed: Seed = 42
    """Seed of the initial factors."""


class _Weighted(_Model):
    """Which ratings a model of implicit feedback counts, and how much."""

    liked_only: bool = False
    """Whether only ratings of at least evaluation.relevance_threshold count."""
    power: Annotated[float, Field(ge=0)] = 2.0
    """A rating weighs (rating / relevance_threshold)^power; 0: all alike."""


class EaseSettings(_Weighted):
    """EASE (Steck 2019): the best linear item-item model, in closed form."""

    algorithm: Literal["ease"]
    """The algorithm's name."""
    regularisation: Annotated[float, Field(gt=0)] = 200.0
    """Weight of the squared norm of the item-item matrix."""


class _InOrder(_Weighted):
    """How EASE reads when ratings were made."""

    regularisation: Annotated[float, Field(gt=0)] = 100.0
    """Weight of the squared norm of the item-item matrix."""
    decay: Annotated[float, Field(gt=0)] = 10.0
    """Ratings between two of a user's after which they count together less by a factor e."""
    most_movies: Annotated[int, Field(ge=1)] = 3000
    """How many movies are scored, the most rated ones: the time taken is the cube of their number."""
    arrival_weight: Annotated[float, Field(ge=0)] = 0.1
    """How much it counts that two movies were first rated at about the same time; 0: not at all, as for all weights."""
    arrival_width: Annotated[float, Field(gt=0)] = 3.0
    """Years over which that counts less by a factor e."""


class SequenceEaseSettings(_InOrder):
    """EASE over what users rated close together, in closed form: the order of the ratings tells more than their set."""

    algorithm: Literal["sequence_ease"]
    """The algorithm's name."""


class TextEaseSettings(_InOrder):
    """The same, and movies of like text, genres and year count as rated together: a hybrid in closed form."""

    algorithm: Literal["text_ease"]
    """The algorithm's name."""
    encoder: Name
    """Whose embeddings it reads: a name under [encoders]."""
    text_weight: Annotated[float, Field(ge=0)] = 0.6
    """How much texts count beside ratings; 0: not at all."""
    text_width: Annotated[float, Field(gt=0)] = 0.3
    """Difference of cosines over which texts count less by a factor e."""
    genre_weight: Annotated[float, Field(ge=0)] = 0.15
    """How much genres in common count."""
    year_weight: Annotated[float, Field(ge=0)] = 0.3
    """How much it counts that two movies were made at about the same time."""
    year_width: Annotated[float, Field(gt=0)] = 15.0
    """Years over which that counts less by a factor e."""


class AlsSettings(_Weighted):
    """Implicit alternating least squares (Hu, Koren & Volinsky 2008), as `implicit` computes it."""

    algorithm: Literal["als"]
    """The algorithm's name."""
    factors: Annotated[int, Field(ge=1)] = 32
    """Length of the user and item vectors."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Alternations."""
    regularisation: Annotated[float, Field(ge=0)] = 30.0
    """Weight of the squared norms of the factors."""
    confidence: Annotated[float, Field(gt=1)] = 10.0
    """Confidence of a rating of weight 1; what is not rated has 1."""
    seed: Seed = 42
    """Seed of the initial factors."""


class BprSettings(_Model):
    """Bayesian Personalized Ranking (Rendle et al. 2009), as Cornac computes it."""

    algorithm: Literal["bpr"]
    """The algorithm's name."""
    factors: Annotated[int, Field(ge=1)] = 50
    """Length of the vectors, without the item's bias."""
    epochs: Annotated[int, Field(ge=1)] = 100
    """Passes; each draws as many triples as there are ratings."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Step size of the stochastic gradient descent."""
    regularisation: Annotated[float, Field(ge=0)] = 0.01
    """Weight of the squared norms of the factors."""
    seed: Seed = 42
    """Seed of the initial factors and of the draws."""


class BiasedMfSettings(_Model):
    """Matrix factorization with user and item biases (Koren, Bell & Volinsky 2009), as Cornac computes it."""

    algorithm: Literal["biased_mf"]
    """The algorithm's name."""
    factors: Annotated[int, Field(ge=1)] = 50
    """Length of the vectors, without the biases."""
    epochs: Annotated[int, Field(ge=1)] = 50
    """Passes over the ratings."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """Step size of the stochastic gradient descent."""
    regularisation: Annotated[float, Field(ge=0)] = 0.02
    """Weight of the squared norms of factors and biases."""
    seed: Seed = 42
    """Seed of the initial factors."""


class ItemKnnSettings(_Weighted):
    """Item-kNN (Deshpande & Karypis 2004): movies whose raters are those of what the user rated, by cosine."""

    algorithm: Literal["item_knn"]
    """The algorithm's name."""
    neighbours: Annotated[int, Field(ge=1)] = 50
    """How many nearest movies of a movie count."""


class UserKnnSettings(_Weighted):
    """User-kNN (Herlocker et al. 1999): what the users with the most similar ratings rated, by cosine."""

    algorithm: Literal["user_knn"]
    """The algorithm's name."""
    neighbours: Annotated[int, Field(ge=1)] = 60
    """How many nearest users count."""


class _Pairwise(_Model):
    """How a model learns to rank a chosen movie above another (recommender/models/pairwise.py)."""

    liked_only: bool = False
    """Whether only ratings of at least evaluation.relevance_threshold are choices, or all."""
    epochs: Annotated[int, Field(ge=1)] = 100
    """Passes over the choices."""
    batch_size: Annotated[int, Field(ge=1)] = 4096
    """Choices a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    """Step size of Adam."""
    regularisation: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the squared norm of all that is learned; beside a loss that is a sum over all choices."""
    seed: Seed = 42
    """Seed of the initial factors and of the draws."""


class LightGcnSettings(_Pairwise):
    """LightGCN (He et al. 2020): factors smoothed over the graph of who chose what."""

    algorithm: Literal["lightgcn"]
    """The algorithm's name."""
    factors: Annotated[int, Field(ge=1)] = 64
    """Length of the vectors."""
    layers: Annotated[int, Field(ge=0)] = 2
    """How far factors are propagated."""


class VbprSettings(_Pairwise):
    """VBPR (He & McAuley 2016), with each movie's text in place of its picture: factors beside texts."""

    algorithm: Literal["vbpr"]
    """The algorithm's name."""
    encoder: Name
    """Whose embeddings it learns from: a name under [encoders]."""
    factors: Annotated[int, Field(ge=1)] = 32
    """Length of the vectors that ratings alone decide."""
    text_factors: Annotated[int, Field(ge=1)] = 32
    """Length of the vectors that texts decide."""


class _Sequential(_Model):
    """How a model of sequences looks at a user's movies in the order of time, and learns."""

    factors: Annotated[int, Field(ge=1)] = 64
    """Length of the vectors; a multiple of `heads`."""
    blocks: Annotated[int, Field(ge=1)] = 2
    """Layers of attention."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads of a layer."""
    longest: Annotated[int, Field(ge=2)] = 50
    """How many of a user's movies are looked at from a place: the latest before it, or those around it."""
    places: Annotated[int, Field(ge=1)] = 10
    """From how many places in a user's order, spread evenly; the mean counts. 1: from the end, for what comes next."""
    dropout: Share = 0.2
    """Share of the values left out while it learns."""
    negatives: Annotated[int, Field(ge=1)] = 1024
    """Movies drawn for each batch that are to score lower."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the ratings."""
    batch_size: Annotated[int, Field(ge=2)] = 512
    """Sequences a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Step size of Adam."""
    seed: Seed = 42
    """Seed of the initial weights and of all draws."""

    @model_validator(mode="after")
    def _heads_divide_the_vector(self) -> "_Sequential":
        if self.factors % self.heads:
            raise ValueError(f"factors ({self.factors}) must be a multiple of heads ({self.heads})")
        return self


class SasRecSettings(_Sequential):
    """SASRec (Kang & McAuley 2018): what comes next after a user's movies, as Cornac computes it."""

    algorithm: Literal["sasrec"]
    """The algorithm's name."""


class Bert4RecSettings(_Sequential):
    """BERT4Rec (Sun et al. 2019): the movie behind a mask among a user's movies, as Cornac computes it."""

    algorithm: Literal["bert4rec"]
    """The algorithm's name."""
    masked: Share = 0.2
    """Share of the movies that are masked while it learns."""


ModelSettings = Annotated[
    MostPopularSettings
    | PmfSettings
    | EaseSettings
    | SequenceEaseSettings
    | TextEaseSettings
    | AlsSettings
    | BprSettings
    | BiasedMfSettings
    | ItemKnnSettings
    | UserKnnSettings
    | LightGcnSettings
    | VbprSettings
    | SasRecSettings
    | Bert4RecSettings,
    Field(discriminator="algorithm"),
]
