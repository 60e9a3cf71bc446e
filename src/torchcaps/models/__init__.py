"""Whole networks behind one interface, and the folder they are saved in."""

from torchcaps.models.attention_capsnet import AttentionCapsNet
from torchcaps.models.capsnet import CapsNet
from torchcaps.models.classifier import Classifier, Losses, ModelOutput
from torchcaps.models.cnn import BaselineCNN
from torchcaps.models.decoder import Decoder
from torchcaps.models.deepcaps import DeepCaps
from torchcaps.models.efficient_capsnet import EfficientCapsNet
from torchcaps.models.em_capsnet import EMCapsNet
from torchcaps.models.folder import list_pretrained
from torchcaps.models.image_capsnet import ImageCapsNet
from torchcaps.models.registry import create_model, list_models, load_model, load_pretrained
from torchcaps.models.segcaps import MaskOutput, SegCaps
from torchcaps.models.self_routing_capsnet import SelfRoutingCapsNet
from torchcaps.models.variational_capsnet import VariationalCapsNet

__all__ = [
    "AttentionCapsNet",
    "BaselineCNN",
    "CapsNet",
    "Classifier",
    "Decoder",
    "DeepCaps",
    "EMCapsNet",
    "EfficientCapsNet",
    "ImageCapsNet",
    "Losses",
    "MaskOutput",
    "ModelOutput",
    "SegCaps",
    "SelfRoutingCapsNet",
    "VariationalCapsNet",
    "create_model",
    "list_models",
    "list_pretrained",
    "load_model",
    "load_pretrained",
]
