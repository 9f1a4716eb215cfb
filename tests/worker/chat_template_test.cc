// Chat templates of the makers' shapes: recognised, and written as Hugging Face's transformers writes them.
#include "worker/text/chat_template.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/worker/fake_tokenizer.h"
#include "tests/worker/test_files.h"
#include "worker/text/answer_ends.h"
#include "worker/text/prompt.h"
#include "worker/text/template_outline.h"

namespace dslad::worker {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::FakeTokenizer;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempDir;

json chat_cases() {
  std::ifstream file(testing::golden_path("chat_templates") / "cases.json");
  return json::parse(file);
}

json chat_case(const std::string& name) {
  for (const json& one : chat_cases()) {
    if (one["name"] == name) return one;
  }
  ADD_FAILURE() << "no case " << name;
  return {};
}

// Has the case's special tokens, from id 256 on.
FakeTokenizer tokenizer_of(const json& one) {
  FakeTokenizer tokenizer(std::vector<std::string>(256));
  TokenId next = 256;
  for (const json& name : one["special"]) tokenizer.names[next++] = name.get<std::string>();
  if (one["bos"].is_string())
    tokenizer.special_tokens.bos = tokenizer.token_named(one["bos"].get<std::string>());
  if (one["eos"].is_string())
    tokenizer.special_tokens.eos = tokenizer.token_named(one["eos"].get<std::string>());
  return tokenizer;
}

std::string without_end_space(const std::string& text) {
  return text.substr(0, text.find_last_not_of(" \n") + 1);
}

PromptTemplate prompt_of(const json& one, const FakeTokenizer& tokenizer, const std::string& settings = "") {
  PromptSources sources;
  sources.chat = ChatTemplateText{one["template"].get<std::string>(), "tokenizer_config.json"};
  if (!settings.empty()) sources.settings = settings;
  auto prompt = PromptTemplate::create(sources, tokenizer);
  EXPECT_TRUE(prompt.ok()) << prompt.error().message;
  return *std::move(prompt);
}

TEST(ChatTemplate, TurnsAreWrittenAsTransformersWritesThem) {
  for (const json& one : chat_cases()) {
    if (one["kind"].is_null()) continue;
    SCOPED_TRACE(one["name"].get<std::string>());
    const FakeTokenizer tokenizer = tokenizer_of(one);
    const auto format = recognise_chat_template(one["template"].get<std::string>(), tokenizer);
    ASSERT_TRUE(format.ok()) << format.error().message;
    EXPECT_EQ(format->kind, one["kind"].get<std::string>());
    std::string user = one["user"].get<std::string>();
    if (format->trims) user = without_end_space(user);
    std::string turn = format->bos ? one["bos"].get<std::string>() : "";
    turn.append(format->before).append(user).append(format->after);
    EXPECT_EQ(turn, one["expected"].get<std::string>());
  }
}

TEST(ChatTemplate, WhatIsNotKnownForSure_IsUnknown) {
  int unknown = 0;
  for (const json& one : chat_cases()) {
    if (!one["kind"].is_null()) continue;
    SCOPED_TRACE(one["name"].get<std::string>());
    ++unknown;
    const auto format = recognise_chat_template(one["template"].get<std::string>(), tokenizer_of(one));
    EXPECT_FALSE(format.ok()) << format->kind;
  }
  EXPECT_GT(unknown, 5);
}

TEST(ChatTemplate, TasksAskInAUsersTurn_AndPromptsToContinueStayAsTheyAre) {
  const json one = chat_case("SmolLM2");
  const FakeTokenizer tokenizer = tokenizer_of(one);
  const PromptTemplate prompt = prompt_of(one, tokenizer);
  const PromptText text = prompt.qa("D", "Q");
  EXPECT_THAT(text.head.text, ::testing::StartsWith("<|im_start|>system\nYou are a helpful AI assistant"));
  EXPECT_THAT(text.head.text, ::testing::EndsWith("with a few words from it.\n\nD"));
  EXPECT_EQ(text.tail.text, "\n\nQuestion: Q<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(prompt.qa_tail("Q").text, text.tail.text);
  EXPECT_EQ(prompt.generate("P").head.text, "P");
  EXPECT_EQ(prompt.origin(schema::Task::kGenerate), PromptOrigin::kDefault);
  ASSERT_EQ(prompt.ends().size(), 1u);
  EXPECT_EQ(prompt.ends()[0].id, *tokenizer.token_named("<|im_end|>"));
  EXPECT_THAT(prompt.warnings(), IsEmpty());
}

TEST(ChatTemplate, SettingsWinKeyByKey) {
  const json one = chat_case("Llama 3");
  const FakeTokenizer tokenizer = tokenizer_of(one);
  const PromptTemplate prompt = prompt_of(one, tokenizer, "[prompt]\nqa = \"{document}|{question}|\"\n");
  EXPECT_EQ(prompt.origin(schema::Task::kQa), PromptOrigin::kSettings);
  EXPECT_EQ(prompt.qa("D", "Q ").tail.text, "|Q |");
  EXPECT_FALSE(prompt.qa("D", "Q").bos.has_value());
  EXPECT_EQ(prompt.origin(schema::Task::kSummarize), PromptOrigin::kChatTemplate);
  EXPECT_EQ(prompt.summarize("D").bos, true);
  EXPECT_THAT(prompt.summarize("D \n").head.text, ::testing::EndsWith("\n\nD"))
      << "Llama 3 trims what users say";
  EXPECT_EQ(prompt_of(one, tokenizer, "[prompt]\nbos = false\n").summarize("D").bos, false);
}

TEST(ChatTemplate, AnUnknownOneIsSaidToBe_WherePlainPromptsAreUsed) {
  const json one = chat_case("ChatML with a separator");
  const FakeTokenizer tokenizer = tokenizer_of(one);
  const PromptTemplate prompt = prompt_of(one, tokenizer);
  EXPECT_EQ(prompt.summarize("D").tail.text, "\n\nSummary:");
  ASSERT_EQ(prompt.warnings().size(), 1u);
  EXPECT_THAT(prompt.warnings()[0], HasSubstr("tokenizer_config.json is unknown"));
  EXPECT_THAT(prompt.warnings()[0], HasSubstr("dslad.toml"));
  const PromptTemplate own =
      prompt_of(one, tokenizer, "[prompt]\nqa = \"{document}{question}\"\nsummarize = \"{document}\"\n");
  EXPECT_THAT(own.warnings(), IsEmpty());
}

TEST(ChatTemplate, IsFoundInAnyOfItsFiles) {
  const json one = chat_case("Zephyr");
  const std::string text = one["template"].get<std::string>();
  const FakeTokenizer tokenizer = tokenizer_of(one);
  const auto from = [&](const char* file, const std::string& content) {
    const TempDir dir;
    dir.write(file, content);
    const auto prompt = PromptTemplate::load(dir.path(), tokenizer);
    EXPECT_TRUE(prompt.ok() && prompt->chat()) << file;
    return prompt.ok() ? prompt->chat_from() : "";
  };
  EXPECT_EQ(from("chat_template.jinja", text), "chat_template.jinja");
  EXPECT_EQ(from("chat_template.json", json{{"chat_template", text}}.dump()), "chat_template.json");
  EXPECT_EQ(from("tokenizer_config.json", json{{"chat_template", text}}.dump()), "tokenizer_config.json");
  const json list = {{{"name", "tool_use"}, {"template", "{{ tools }}"}},
                     {{"name", "default"}, {"template", text}}};
  EXPECT_EQ(from("tokenizer_config.json", json{{"chat_template", list}}.dump()), "tokenizer_config.json");
  const TempDir dir;
  dir.write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_FALSE(PromptTemplate::load(dir.path(), tokenizer).ok());
}

TEST(AnswerEnds, AreThoseOfAllFiles_EachOnce) {
  const json one = chat_case("SmolLM2");  // its eos_token is <|im_end|>
  const FakeTokenizer tokenizer = tokenizer_of(one);
  const PromptTemplate prompt = prompt_of(one, tokenizer, "[prompt]\nstop = [\"<|endoftext|>\", \"END\"]\n");
  const TokenId im_end = *tokenizer.token_named("<|im_end|>"),
                end_of_text = *tokenizer.token_named("<|endoftext|>");
  const auto ends = answer_ends(std::vector<TokenId>{7, im_end}, tokenizer, prompt);
  EXPECT_THAT(ids_of(ends), ElementsAre(7, im_end, end_of_text));
  EXPECT_THAT(ends[1].from, ElementsAre("config", "tokenizer", "chat template"));
  EXPECT_THAT(ends[2].from, ElementsAre("dslad.toml"));
  EXPECT_EQ(ends[2].name, "<|endoftext|>");
  EXPECT_THAT(prompt.stop(), ElementsAre("END")) << "the name of a special token is no text";
}

TEST(TemplateOutline, JoinsTextsAndVariables) {
  const auto output = [](std::string_view jinja) { return outline_of(jinja).output; };
  EXPECT_EQ(output("a {{ 'b' + message['role'] ~ message.content }} c"), "a b\1\2 c");
  EXPECT_EQ(output("{{ messages[0]['content'] | trim }}|{{ content.strip() }}"), "\3|\3");
  EXPECT_EQ(
      output("{{ bos_token }}{{ eos_token }}{{ message['role'] | upper }}{{ f(x) }}{{ 'a' if b else 'c' }}"),
      "\4\5\6\6\6");
  EXPECT_EQ(output("{# no #}{{ '}}' }}{{ \"%}\\n\\\"\" }}"), "}}%}\n\"");
  EXPECT_EQ(output("{% if loop.first %}\n  x\n  {%- endif %}\n {{- ('a' + ('b')) -}} \n y\n"), "  xaby");
  EXPECT_EQ(output("x\1y"), "x\6y");
  EXPECT_EQ(output("{% if tools is not none and x %}a{% if y %}b{% endif %}{% else %}c{% endif %}d{% if not "
                   "tools %}e{% endif %}"),
            "cde");
  EXPECT_EQ(output("{{ 'a'"), "\6");
  const TemplateOutline assigned = outline_of("{% set a.b = '<' + message['content'] %}");
  ASSERT_EQ(assigned.assignments.size(), 1u);
  EXPECT_EQ(assigned.assignments[0].name, "a.b");
  EXPECT_EQ(assigned.assignments[0].value, "<\2");
}

TEST(TemplateOutline, LeavesOutBranchesThatAreNeverTaken) {
  const auto output = [](std::string_view jinja) { return outline_of(jinja).output; };
  const auto taken = [&](const std::string& condition) {
    const std::string text = output("{% if " + condition + " %}a{% else %}b{% endif %}");
    return text == "a" ? "yes" : text == "b" ? "no" : text == "a\7b\7" ? "unknown" : text;
  };
  for (const char* const yes :
       {"message.role == 'user'", "messages[0]['role'] != \"system\"", "not message.tool_calls",
        "message['content'] is string", "add_generation_prompt", "not nobody is defined", "tools is none",
        "(message.role == 'user') or (x | length > 3)", "'content' in message",
        "message.role in ['user', 'tool']", "enable_thinking is defined and enable_thinking is false",
        "true"}) {
    EXPECT_EQ(taken(yes), "yes") << yes;
  }
  for (const char* const no : {"message.role == 'tool'", "tools", "tools is defined and tools is not none",
                               "custom_tools is defined", "x | length > 3 and message.role == 'system'",
                               "'/think' in system_message", "message.reasoning_content is defined",
                               "message['content'] is not string", "enable_thinking",
                               "strftime_now is defined", "not (message.role == 'user' or loop.first)"}) {
    EXPECT_EQ(taken(no), "no") << no;
  }
  for (const char* const unknown :
       {"messages | length > 1", "loop.first", "message.content", "message.role | upper == 'USER'",
        "message.role == 'user' and loop.first", "(message['role'] == 'user') != (loop.index0 % 2 == 0)",
        "messages[1].role == 'user'", "bos_token is defined", "'a' if b else 'c'", "", "(", "not", "a is",
        "is in == !="}) {
    EXPECT_EQ(taken(unknown), "unknown") << unknown;
  }
  EXPECT_EQ(output("{% if loop.first %}a{% elif tools %}b{% endif %}c"), "ac") << "one branch joins";
  EXPECT_EQ(output("{% if loop.first %}a{% elif loop.last %}b{% endif %}c"), "a\7b\7c");
}

TEST(TemplateOutline, NamesOfOneTextAreThatText) {
  const auto output = [](std::string_view jinja) { return outline_of(jinja).output; };
  EXPECT_EQ(output("{% set a = 'x' + 'y' %}{% set b = a %}{{ '<' + b + '>' }}"), "<xy>");
  EXPECT_EQ(output("{% set a = 'x' %}{% if tools %}{% set a = 'y' %}{% endif %}{{ a }}"), "x");
  EXPECT_EQ(output("{% set a = 'x' %}{% if loop.first %}{% set a = 'y' %}{% endif %}{{ a }}"), "\6");
  EXPECT_EQ(output("{% for a in b %}{{ a }}{% endfor %}"), "\6");
  EXPECT_EQ(output("{% set a = 'x' %}{% set a = f(a) %}{{ a }}"), "\6");
  EXPECT_EQ(output("{% set a = ' x ' | trim %}{{ a }}{{ a.b }}{{ a[0] }}"), "x\6\6");
  EXPECT_EQ(
      output("{{ strftime_now('%d %B %Y') }}|{{ strftime_now(\"%Y-%m-%d\") }}|{{ strftime_now('%H') }}"),
      "08 July 2025|2025-07-08|\6");
  EXPECT_EQ(output("{{ 'a\\\nb' }}{{ raise_exception('no') }}"), "ab");
}

TEST(TemplateOutlineFuzz, MutatedTemplates_AreReadNeverACrash) {
  std::mt19937_64 random(11);
  const json all = chat_cases();
  for (int round = 0; round < 3000; ++round) {
    const json& one = all[static_cast<std::size_t>(round) % all.size()];
    const std::string text = testing::mutate(one["template"].get<std::string>(), random);
    const auto format = recognise_chat_template(text, tokenizer_of(one));
    EXPECT_TRUE(format.ok() || !format.error().message.empty());
  }
}

}  // namespace
}  // namespace dslad::worker
