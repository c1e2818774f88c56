"""The gRPC services google.pubsub.v1 Publisher and Subscriber, with the methods that the pipeline uses.

gRPC itself answers other methods with UNIMPLEMENTED.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grpc  # type: ignore[import-untyped, unused-ignore]
from google.pubsub_v1 import types

from defacer_emulator.pubsub.broker import Broker
from defacer_emulator.pubsub.call_errors import FailedPreconditionError, InvalidArgumentError, RefusedError
from defacer_emulator.pubsub.delivery_policy import ACK_DEADLINE_SECONDS
from defacer_emulator.pubsub.push import start_pushing
from defacer_emulator.pubsub.subscription import Subscription

# A pull without a deadline returns nothing after this time, so that it does not occupy a thread forever.
MAX_PULL_SECONDS = 30.0
# An empty response must reach the caller before the caller's deadline.
PULL_DEADLINE_SHARE = 0.9

Method = Callable[[Any, grpc.ServicerContext], Any]


class PublisherService:
    """The methods of google.pubsub.v1.Publisher."""

    def __init__(self, broker: Broker):
        self._broker = broker

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "google.pubsub.v1.Publisher",
            {
                "CreateTopic": _unary(self.create_topic, types.Topic, types.Topic),
                "ListTopics": _unary(self.list_topics, types.ListTopicsRequest, types.ListTopicsResponse),
                "Publish": _unary(self.publish, types.PublishRequest, types.PublishResponse),
            },
        )

    def create_topic(self, request: types.Topic, _: grpc.ServicerContext) -> types.Topic:
        return self._broker.create_topic(request)

    def list_topics(
        self, request: types.ListTopicsRequest, _: grpc.ServicerContext
    ) -> types.ListTopicsResponse:
        return types.ListTopicsResponse(topics=self._broker.list_topics(request.project))

    def publish(self, request: types.PublishRequest, _: grpc.ServicerContext) -> types.PublishResponse:
        return types.PublishResponse(message_ids=self._broker.publish(request))


class SubscriberService:
    """The methods of google.pubsub.v1.Subscriber, except those that stream or change a subscription."""

    def __init__(self, broker: Broker):
        self._broker = broker

    def handler(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "google.pubsub.v1.Subscriber",
            {
                "CreateSubscription": _unary(
                    self.create_subscription, types.Subscription, types.Subscription
                ),
                "GetSubscription": _unary(
                    self.get_subscription, types.GetSubscriptionRequest, types.Subscription
                ),
                "ListSubscriptions": _unary(
                    self.list_subscriptions, types.ListSubscriptionsRequest, types.ListSubscriptionsResponse
                ),
                "DeleteSubscription": _unary(self.delete_subscription, types.DeleteSubscriptionRequest),
                "Pull": _unary(self.pull, types.PullRequest, types.PullResponse),
                "Acknowledge": _unary(self.acknowledge, types.AcknowledgeRequest),
                "ModifyAckDeadline": _unary(self.modify_ack_deadline, types.ModifyAckDeadlineRequest),
            },
        )

    def create_subscription(self, request: types.Subscription, _: grpc.ServicerContext) -> types.Subscription:
        subscription = self._broker.create_subscription(request)
        start_pushing(subscription)
        return subscription.resource

    def get_subscription(
        self, request: types.GetSubscriptionRequest, _: grpc.ServicerContext
    ) -> types.Subscription:
        return self._broker.get_subscription(request.subscription).resource

    def list_subscriptions(
        self, request: types.ListSubscriptionsRequest, _: grpc.ServicerContext
    ) -> types.ListSubscriptionsResponse:
        resources = [
            subscription.resource for subscription in self._broker.list_subscriptions(request.project)
        ]
        return types.ListSubscriptionsResponse(subscriptions=resources)

    def delete_subscription(self, request: types.DeleteSubscriptionRequest, _: grpc.ServicerContext) -> None:
        self._broker.delete_subscription(request.subscription)

    def pull(self, request: types.PullRequest, context: grpc.ServicerContext) -> types.PullResponse:
        """Return messages. Wait for the first one until shortly before the deadline, unless `return_immediately`."""
        subscription = self._broker.get_subscription(request.subscription)
        if subscription.policy.push:
            raise FailedPreconditionError(
                f"{subscription.name} is a push subscription to {subscription.policy.push.endpoint}. Do not pull."
            )
        if request.max_messages < 1:
            raise InvalidArgumentError(
                f"{subscription.name}: max_messages is {request.max_messages}. Set it to at least 1."
            )
        context.add_callback(subscription.wake)  # the caller can disconnect while this waits
        deliveries = subscription.take(
            maximum=request.max_messages,
            lease_seconds=subscription.policy.ack_deadline_seconds,
            wait_seconds=0.0 if request.return_immediately else _pull_seconds(context.time_remaining()),
            is_wanted=context.is_active,
        )
        has_attempts = subscription.policy.dead_letters is not None
        return types.PullResponse(
            received_messages=[
                types.ReceivedMessage(
                    ack_id=delivery.ack_id,
                    message=delivery.message,
                    delivery_attempt=delivery.attempt if has_attempts else 0,
                )
                for delivery in deliveries
            ]
        )

    def acknowledge(self, request: types.AcknowledgeRequest, _: grpc.ServicerContext) -> None:
        subscription = self._broker.get_subscription(request.subscription)
        subscription.acknowledge(_check_ack_ids(subscription, request.ack_ids))

    def modify_ack_deadline(self, request: types.ModifyAckDeadlineRequest, _: grpc.ServicerContext) -> None:
        """Set the deadline of messages. 0 seconds mean that they are redelivered at once."""
        subscription = self._broker.get_subscription(request.subscription)
        ack_ids = _check_ack_ids(subscription, request.ack_ids)
        seconds, maximum = request.ack_deadline_seconds, ACK_DEADLINE_SECONDS[1]
        if not 0 <= seconds <= maximum:
            raise InvalidArgumentError(
                f"{subscription.name}: ack_deadline_seconds is {seconds}. Set it to 0 to {maximum}."
            )
        if seconds == 0:
            subscription.reject(ack_ids)
        else:
            subscription.extend(ack_ids, seconds)


def _unary(method: Method, request_type: Any, response_type: Any | None = None) -> grpc.RpcMethodHandler:
    """Return a handler that turns a RefusedError into its status. Without a response type, the response is Empty."""

    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request, context)
        except RefusedError as error:
            return context.abort(grpc.StatusCode[error.code], str(error))

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=request_type.deserialize,
        response_serializer=response_type.serialize if response_type else lambda _: b"",
    )


def _pull_seconds(remaining: float | None) -> float:
    if remaining is None:
        return MAX_PULL_SECONDS
    return min(MAX_PULL_SECONDS, remaining * PULL_DEADLINE_SHARE)


def _check_ack_ids(subscription: Subscription, ack_ids: Sequence[str]) -> Sequence[str]:
    if not ack_ids:
        raise InvalidArgumentError(f"{subscription.name}: ack_ids is empty. Set at least one.")
    for ack_id in ack_ids:
        if not ack_id.startswith(f"{subscription.name}:"):
            raise InvalidArgumentError(
                f"{subscription.name}: the ack_id {ack_id!r} is not from a pull of this subscription. Use one that is."
            )
    return ack_ids
