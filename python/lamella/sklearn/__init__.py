# SPDX-License-Identifier: Apache-2.0
"""The door to scikit-learn: fitted estimators become networks.

scikit-learn is imported when something here is called, not when lamella is.
"""

from lamella.sklearn.convert import FittedClassifier, FittedRegressor, from_sklearn

__all__ = ["FittedClassifier", "FittedRegressor", "from_sklearn"]
