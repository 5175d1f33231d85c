"""What cert-manager does: the table of contents."""

from cert_manager.application.ensure_credential import EnsureCredential
from cert_manager.application.reconcile import Reconcile
from cert_manager.application.take_answers import TakeAnswers

__all__ = ["EnsureCredential", "Reconcile", "TakeAnswers"]
