"""Every bound of the system, importable from here; the modules divide them by subject.

Names carry their unit. A bound that the protocol fixes says its section of PROTOCOL.md; the others are ours.
"""

from yzdht.limits.commands import *
from yzdht.limits.dialling import *
from yzdht.limits.identity import *
from yzdht.limits.kad import *
from yzdht.limits.local import *
from yzdht.limits.people import *
from yzdht.limits.pubsub import *
from yzdht.limits.records import *
from yzdht.limits.routers import *
from yzdht.limits.rpc import *
from yzdht.limits.sessions import *
from yzdht.limits.spans import *
from yzdht.limits.strangers import *
from yzdht.limits.transport import *
