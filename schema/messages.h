// Everything one needs to speak the protocol: message structs, encode and decode. Include the parts alone
// where only one side's messages are used.
#pragma once

#include "schema/care_messages.h"
#include "schema/client_messages.h"
#include "schema/codec.h"
#include "schema/endpoint.h"
#include "schema/event.h"
#include "schema/limits.h"
#include "schema/policy_messages.h"
#include "schema/worker_messages.h"
