"""MLflow's way in, copied into every model folder ("models from code"): nothing is unpickled."""

from mlflow.models import set_model

from kfp_ratchet.components.train.pyfunc import Served

set_model(Served())
